/* Attention of one head in bfloat16, for processors that multiply it: see runner/layers/attention.py.

   All scores of a few queries are in memory, and keys and values in the order in which products of pairs want
   them: for 2,688 keys that is 0.9 MB, which a core's cache holds. */

#if defined(__AVX512BF16__)

#include <immintrin.h>
#include <stdint.h>

#define QUERIES 12 /* that go together: with two registers of keys each they fill the processor's 32 */
#define HALF (QUERIES / 2)
#define KEYS 32 /* that go together */
#define DIMS 64 /* of a head at most: four registers */
#define PARTS (DIMS / 16)

/* Pairs of dimensions of sixteen keys after each other; zeros beyond. */
static void pack_keys(const uint16_t *keys, long stride, long count, long padded, long dims, uint32_t *to) {
    for (long block = 0; block < padded; block += 16)
        for (long pair = 0; pair < dims / 2; pair++)
            for (long key = block; key < block + 16; key++, to++)
                *to = key < count ? *(const uint32_t *)(keys + key * stride + 2 * pair) : 0;
}

/* For each dimension its values of two keys; zeros beyond. */
static void pack_values(
    const uint16_t *values, long stride, long count, long padded, long dims, uint32_t *to) {
    for (long key = 0; key < padded; key += 2)
        for (long dim = 0; dim < DIMS; dim++, to++) {
            uint32_t first = dim < dims && key < count ? values[key * stride + dim] : 0;
            uint32_t second = dim < dims && key + 1 < count ? values[(key + 1) * stride + dim] : 0;
            *to = first | second << 16;
        }
}

/* Q K^T: `(QUERIES, padded)` products. */
static void score(
    const uint32_t (*queries)[QUERIES], const uint32_t *keys, long padded, long pairs, float *to) {
    for (long key = 0; key < padded; key += KEYS, keys += KEYS * pairs) {
        __m512 sums[QUERIES][2] = {0};
        for (long pair = 0; pair < pairs; pair++) {
            __m512bh front = (__m512bh)_mm512_loadu_si512(keys + 16 * pair);
            __m512bh back = (__m512bh)_mm512_loadu_si512(keys + 16 * (pairs + pair));
            for (int i = 0; i < QUERIES; i++) {
                __m512bh query = (__m512bh)_mm512_set1_epi32((int)queries[pair][i]);
                sums[i][0] = _mm512_dpbf16_ps(sums[i][0], front, query);
                sums[i][1] = _mm512_dpbf16_ps(sums[i][1], back, query);
            }
        }
        for (int i = 0; i < QUERIES; i++)
            for (int part = 0; part < 2; part++)
                _mm512_storeu_ps(to + i * padded + key + 16 * part, sums[i][part]);
    }
}

/* 2^x to 4e-5, a hundredth of bfloat16's steps: x is split at the nearest integer, and what is left goes
   through the Taylor series. */
static inline __m512 power_of_two(__m512 x) {
    __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 left = _mm512_sub_ps(x, whole), result = _mm512_set1_ps(9.618129e-3f);
    result = _mm512_fmadd_ps(result, left, _mm512_set1_ps(5.550411e-2f));
    result = _mm512_fmadd_ps(result, left, _mm512_set1_ps(2.402265e-1f));
    result = _mm512_fmadd_ps(result, left, _mm512_set1_ps(6.931472e-1f));
    return _mm512_scalef_ps(_mm512_fmadd_ps(result, left, _mm512_set1_ps(1)), whole);
}

/* Of sixteen keys from `key` on those that are there. */
static inline __mmask16 inside(long key, long count) {
    return count - key >= 16 ? 0xffff : count <= key ? 0 : (__mmask16)((1 << (count - key)) - 1);
}

/* e^(scale (score - the highest)) of a row, in bfloat16, and their sum. */
static float weigh(const float *scores, long count, long padded, float scale, uint16_t *weights) {
    __m512 highest = _mm512_set1_ps(scores[0]), sum = _mm512_setzero_ps();
    for (long key = 0; key < count; key += 16)
        highest = _mm512_mask_max_ps(highest, inside(key, count), highest, _mm512_loadu_ps(scores + key));
    highest = _mm512_set1_ps(_mm512_reduce_max_ps(highest));
    __m512 factor = _mm512_set1_ps(scale * 1.442695041f); /* 1 / ln 2 */
    for (long key = 0; key < padded; key += 16) {
        __m512 below = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(scores + key), highest), factor);
        __m512 weight = _mm512_maskz_mov_ps(inside(key, count), power_of_two(below));
        sum = _mm512_add_ps(sum, weight);
        _mm256_storeu_si256((__m256i *)(weights + key), (__m256i)_mm512_cvtneps_pbh(weight));
    }
    return _mm512_reduce_add_ps(sum);
}

/* The values' weighted means for `HALF` queries. */
static void mix(
    const uint16_t *weights, const float *sums, const uint32_t *values, long padded,
    __m256i means[HALF][PARTS]) {
    __m512 mixed[HALF][PARTS] = {0};
    for (long pair = 0; pair < padded / 2; pair++)
        for (int i = 0; i < HALF; i++) {
            uint32_t both = *(const uint32_t *)(weights + i * padded + 2 * pair);
            __m512bh weight = (__m512bh)_mm512_set1_epi32((int)both);
            for (int part = 0; part < PARTS; part++) {
                __m512bh value = (__m512bh)_mm512_loadu_si512(values + pair * DIMS + 16 * part);
                mixed[i][part] = _mm512_dpbf16_ps(mixed[i][part], value, weight);
            }
        }
    for (int i = 0; i < HALF; i++)
        for (int part = 0; part < PARTS; part++)
            means[i][part] =
                (__m256i)_mm512_cvtneps_pbh(_mm512_div_ps(mixed[i][part], _mm512_set1_ps(sums[i])));
}

static long filled_up(long keys) { return (keys + KEYS - 1) / KEYS * KEYS; }

/* Room that `attend_bfloat16` needs, in bytes. */
long attend_bfloat16_room(long keys, long dims) {
    (void)dims;
    return filled_up(keys) * (2 * DIMS * sizeof(uint16_t) + QUERIES * (sizeof(float) + sizeof(uint16_t)));
}

/* softmax(scale Q K^T) V: `(queries, dims)` by `(keys, dims)` twice to `(queries, dims)`, dims even and no
   more than 64, one key or more, rows some strides apart. */
void attend_bfloat16(
    const uint16_t *q, long q_stride, const uint16_t *k, long k_stride, const uint16_t *v, long v_stride,
    uint16_t *to, long to_stride, long queries, long keys, long dims, float scale, void *room) {
    long padded = filled_up(keys), pairs = dims / 2;
    uint32_t *packed_keys = room, *packed_values = packed_keys + padded * DIMS / 2;
    float *scores = (float *)(packed_values + padded * DIMS / 2);
    uint16_t *weights = (uint16_t *)(scores + QUERIES * padded);
    pack_keys(k, k_stride, keys, padded, dims, packed_keys);
    pack_values(v, v_stride, keys, padded, dims, packed_values);
    for (long first = 0; first < queries; first += QUERIES) {
        uint32_t asked[DIMS / 2][QUERIES];
        float sums[QUERIES];
        for (int i = 0; i < QUERIES; i++) {
            long row = first + i < queries ? first + i : queries - 1; /* the last one again, to no end */
            for (long pair = 0; pair < pairs; pair++)
                asked[pair][i] = *(const uint32_t *)(q + row * q_stride + 2 * pair);
        }
        score(asked, packed_keys, padded, pairs, scores);
        for (int i = 0; i < QUERIES; i++)
            sums[i] = weigh(scores + i * padded, keys, padded, scale, weights + i * padded);
        for (int half = 0; half < QUERIES; half += HALF) {
            __m256i means[HALF][PARTS];
            mix(weights + half * padded, sums + half, packed_values, padded, means);
            for (int i = 0; i < HALF && first + half + i < queries; i++)
                __builtin_memcpy(to + (first + half + i) * to_stride, means[i], dims * sizeof *to);
        }
    }
}

#endif
