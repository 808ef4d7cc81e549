/* Vectors as wide as the processor's registers, and functions of them. */

#ifndef LANES_H
#define LANES_H

#include <stdint.h>

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif

#define INLINE static inline __attribute__((always_inline))

typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t integers __attribute__((vector_size(4 * LANES), aligned(4)));
typedef uint32_t bits __attribute__((vector_size(4 * LANES), aligned(4)));
typedef uint16_t halves __attribute__((vector_size(2 * LANES), aligned(2)));

INLINE float total(lanes x) {
    float sum = 0;
    for (int i = 0; i < LANES; i++) sum += x[i];
    return sum;
}

INLINE const lanes *at(const float *array, long place) { return (const lanes *)(array + place); }

INLINE lanes *to(float *array, long place) { return (lanes *)(array + place); }

/* The first `count` of a vector, which may be more than all; zeros beyond. */
INLINE lanes first_of(lanes x, long count) {
    integers numbers;
    for (int i = 0; i < LANES; i++) numbers[i] = i;
    return count >= LANES ? x : (lanes)((bits)x & (bits)(numbers < (integers){0} + (int)count));
}

/* Values at `place` onwards of an array of float32 or, if `shortened`, of bfloat16. */
INLINE lanes load(const void *array, long place, int shortened) {
    if (!shortened) return *(const lanes *)((const float *)array + place);
    halves x = *(const halves *)((const uint16_t *)array + place);
    return (lanes)(__builtin_convertvector(x, bits) << 16);
}

/* To the nearest bfloat16, of two the even one. */
INLINE void store(void *array, long place, int shortened, lanes x) {
    if (!shortened) {
        *(lanes *)((float *)array + place) = x;
        return;
    }
    bits rounded = (bits)x + 0x7fff + ((bits)x >> 16 & 1);
    *(halves *)((uint16_t *)array + place) = __builtin_convertvector(rounded >> 16, halves);
}

/* The same of the first `count` of a vector at the end of a row; zeros beyond. */
INLINE lanes load_some(const void *array, long place, int shortened, long count) {
    if (count >= LANES) return load(array, place, shortened);
    lanes x = {0};
    for (long i = 0; i < count; i++)
        if (shortened)
            ((uint32_t *)&x)[i] = (uint32_t)((const uint16_t *)array)[place + i] << 16;
        else
            ((float *)&x)[i] = ((const float *)array)[place + i];
    return x;
}

INLINE void store_some(void *array, long place, int shortened, lanes x, long count) {
    if (count >= LANES) {
        store(array, place, shortened, x);
        return;
    }
    float kept[LANES];
    store(kept, 0, shortened, x);
    for (long i = 0; i < count; i++)
        if (shortened)
            ((uint16_t *)array)[place + i] = ((uint16_t *)kept)[i];
        else
            ((float *)array)[place + i] = kept[i];
}

/* The larger one of `x` and `least`. What is no number stays that, other than with Clang's own function. */
INLINE lanes at_least(lanes x, float least) {
    bits below = (bits)(x < least);
    return (lanes)((below & (bits)((lanes){0} + least)) | (~below & (bits)x));
}

/* 2^x to 2e-7 of it, no less than 2^-126, for x no more than 127: x is split at the nearest integer, which is
   added to the exponent of what the Taylor series gives of the rest. */
INLINE lanes power_of_two(lanes x) {
    const lanes far = (lanes){0} + 12582912; /* 1.5 * 2^23, where steps are 1 */
    x = at_least(x, -126);
    lanes shifted = x + far, left = x - (shifted - far);
    lanes result = left * 1.540353e-4f + 1.333356e-3f;
    result = result * left + 9.618129e-3f;
    result = result * left + 5.550411e-2f;
    result = result * left + 2.402265e-1f;
    result = result * left + 6.931472e-1f;
    result = result * left + 1;
    return (lanes)((bits)result + ((bits)shifted << 23));
}

INLINE lanes sigmoid(lanes x) {
    return 1 / (1 + power_of_two(-at_least(1.442695f * x, -126)));
}

/* x (1 + erf(x / sqrt 2)) / 2, with erf to 1.5e-7: M. Abramowitz, I. Stegun, "Handbook of Mathematical
   Functions", 1964, 7.1.26. */
INLINE lanes gelu(lanes x) {
    lanes size = (lanes)((bits)x & 0x7fffffff) * 0.70710678f;
    lanes t = 1 / (1 + 0.3275911f * size);
    lanes series = t * 1.061405429f - 1.453152027f;
    series = series * t + 1.421413741f;
    series = series * t - 0.284496736f;
    series = (series * t + 0.254829592f) * t;
    lanes rest = series * power_of_two(-1.442695f * size * size); /* 1 - erf */
    lanes both = (lanes)((bits)(1 - rest) | ((bits)x & 0x80000000u));
    return 0.5f * x * (1 + both);
}

#endif
