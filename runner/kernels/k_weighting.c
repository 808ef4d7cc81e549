/* Two second-order sections, one after the other, on two channels at once: see runner/loudness.py. */

typedef double both __attribute__((vector_size(16)));

static const double NO_MORE_THAN_ROUNDING = 1e-30;

/* The energy of `frames` filtered samples, summed over `channels`, 1 or 2 rows of `stride` samples.

   `filter` holds b0 b1 b2 a0 a1 a2 of each section, a0 = 1, as scipy has them; `state` both values of each
   section for each channel (transposed direct form II: A. Oppenheim, R. Schafer, "Discrete-Time Signal
   Processing", 3rd ed., fig. 6.26). */
double k_weighted_energy(
    const float *samples, long stride, long channels, long frames, const double *filter, double *state) {
    both s[4], energy = {0, 0};
    const float *left = samples, *right = samples + (channels - 1) * stride;
    __builtin_memcpy(s, state, sizeof s);
    for (long i = 0; i < frames; i++) {
        both x = {left[i], right[i]};
        both y = filter[0] * x + s[0];
        s[0] = filter[1] * x - filter[4] * y + s[1];
        s[1] = filter[2] * x - filter[5] * y;
        x = y;
        y = filter[6] * x + s[2];
        s[2] = filter[7] * x - filter[10] * y + s[3];
        s[3] = filter[8] * x - filter[11] * y;
        energy += y * y;
    }
    /* In silence it would decay into denormal numbers, which are a hundred times slower. */
    for (int i = 0; i < 4; i++)
        for (int channel = 0; channel < 2; channel++)
            if (-NO_MORE_THAN_ROUNDING < s[i][channel] && s[i][channel] < NO_MORE_THAN_ROUNDING)
                s[i][channel] = 0;
    __builtin_memcpy(state, s, sizeof s);
    return channels == 2 ? energy[0] + energy[1] : energy[0];
}
