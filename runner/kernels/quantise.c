/* From rows of float samples to a file's integers: see runner/audio_files.py. */

#include <stdint.h>

/* One sample in steps of a full scale: rounded to the nearest, half to even, and limited. */
#define QUANTISE(type, shift)                                                                                \
    static inline __attribute__((always_inline)) long quantise_##type(                                       \
        const float *samples, long stride, const long channels, long frames, float gain, float full_scale,   \
        type *to) {                                                                                          \
        int32_t limited = 0, odd = 0;                                                                        \
        for (long i = 0; i < frames; i++)                                                                    \
            for (long channel = 0; channel < channels; channel++) {                                          \
                float sample = samples[channel * stride + i] * gain;                                         \
                float steps = __builtin_rintf(sample * full_scale), inside = steps;                          \
                inside = inside > -full_scale ? inside : -full_scale;                                        \
                inside = inside < full_scale - 1 ? inside : full_scale - 1;                                  \
                limited += steps != inside;                                                                  \
                odd |= !(sample - sample == 0); /* NaN and infinity */                                       \
                to[i * channels + channel] = (type)((int32_t)inside * (1 << (shift)));                       \
            }                                                                                                \
        return odd ? -1 : limited;                                                                           \
    }

QUANTISE(int16_t, 0)
QUANTISE(int32_t, 8)

/* Writes `(frames, channels)` integers of 16 bits or, at the top of 32, of 24: how many samples of
   `channels`, 1 or 2, rows of `frames` had to be limited after the gain, or -1 if some are not numbers. */
long quantise(
    const float *samples, long stride, long channels, long frames, float gain, long bits, void *to) {
    if (bits == 16)
        return channels == 2 ? quantise_int16_t(samples, stride, 2, frames, gain, 0x1p15f, to)
                             : quantise_int16_t(samples, stride, 1, frames, gain, 0x1p15f, to);
    return channels == 2 ? quantise_int32_t(samples, stride, 2, frames, gain, 0x1p23f, to)
                         : quantise_int32_t(samples, stride, 1, frames, gain, 0x1p23f, to);
}
