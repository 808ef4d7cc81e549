/* The largest sample of a signal at four times its rate: see runner/true_peak.py. */

#define PHASES 4
#define REACH 10
#define TAPS (2 * REACH + 1)
#define SECTION 32 /* samples that are interpolated together; no less than twice the reach */

static const double ROUNDING = 1 - 1e-5; /* more than sums of 21 terms in float32 are off */

/* The largest of SECTION magnitudes, which are lost. */
#define LARGEST(type)                                                                                        \
    static type largest_##type(type *values) {                                                               \
        for (int half = SECTION / 2; half > 0; half /= 2)                                                    \
            for (int i = 0; i < half; i++)                                                                   \
                values[i] = values[i] > values[half + i] ? values[i] : values[half + i];                     \
        return values[0];                                                                                    \
    }

/* The largest interpolated magnitude of a section's first `count` samples. Before it lie REACH samples. */
#define INTERPOLATED(type, magnitude)                                                                        \
    static type interpolated_##type(const float *around, int count, const type *taps) {                      \
        type highest[SECTION] = {0};                                                                         \
        for (int phase = 0; phase < PHASES; phase++) {                                                       \
            type sums[SECTION] = {0};                                                                        \
            for (int tap = 0; tap < TAPS; tap++)                                                             \
                for (int i = 0; i < SECTION; i++) sums[i] += taps[phase * TAPS + tap] * around[i + tap];     \
            for (int i = 0; i < SECTION; i++) {                                                              \
                type sum = i < count ? magnitude(sums[i]) : 0;                                               \
                highest[i] = highest[i] > sum ? highest[i] : sum;                                            \
            }                                                                                                \
        }                                                                                                    \
        return largest_##type(highest);                                                                      \
    }

LARGEST(float)
LARGEST(double)
INTERPOLATED(float, __builtin_fabsf)
INTERPOLATED(double, __builtin_fabs)

/* The largest magnitude of a section and of the samples on either side that it depends on. */
static float largest_around(const float *around) {
    float magnitudes[SECTION];
    for (int i = 0; i < SECTION; i++) {
        float one = __builtin_fabsf(around[i]), other = __builtin_fabsf(around[i + 2 * REACH]);
        magnitudes[i] = one > other ? one : other;
    }
    return largest_float(magnitudes);
}

/* `peak` or, if larger, the true peak of `frames` samples in each of `channels` rows of `frames + 2 REACH`.

   `taps` are those of each phase, of which no interpolated sample is more than `gain` times as large as the
   samples around it: so most sections are passed over. float32 picks those that may be the highest, float64
   says how high they are. */
double true_peak(
    const float *signal, long stride, long channels, long frames, const double *taps, double gain,
    double peak) {
    float short_taps[PHASES * TAPS];
    for (int i = 0; i < PHASES * TAPS; i++) short_taps[i] = (float)taps[i];
    for (long channel = 0; channel < channels; channel++, signal += stride) {
        for (long first = 0; first < frames; first += SECTION) {
            float last[SECTION + 2 * REACH] = {0};
            const float *around = signal + first;
            int count = frames - first < SECTION ? (int)(frames - first) : SECTION;
            if (count < SECTION) {
                for (int i = 0; i < count + 2 * REACH; i++) last[i] = around[i];
                around = last;
            }
            if (largest_around(around) * gain <= peak) continue;
            if (interpolated_float(around, count, short_taps) <= peak * ROUNDING) continue;
            double highest = interpolated_double(around, count, taps);
            peak = highest > peak ? highest : peak;
        }
    }
    return peak;
}
