/* Attention of one head in float32: see runner/layers/attention.py.

   Some queries hear some keys at a time, so that their scores stay in a core's nearest cache; what was heard
   so far is scaled down when a higher score comes (M. Milakov, N. Gimelshein, "Online normalizer calculation
   for softmax", 2018). */

#include "products.h"

#if LANES == 16 /* for others it is slower than torch's */

#define QUERIES 48 /* that go together */
#define VECTORS (QUERIES / LANES)
#define KEYS 192   /* that go together */
#define DIMS 64    /* of a head at most */

typedef struct {
    float asked[DIMS * QUERIES];    /* (dims, QUERIES) */
    float scores[KEYS * QUERIES];   /* (KEYS, QUERIES), then their weights */
    float heard[QUERIES * DIMS];    /* (QUERIES, dims) */
    float highest[QUERIES], sums[QUERIES], factors[QUERIES];
} block;

static long filled_up(long keys) { return (keys + GROUP - 1) / GROUP * GROUP; }

/* Room that `attend_float32` needs, in bytes. */
long attend_float32_room(long keys, long dims) {
    return 2 * dims * filled_up(keys) * sizeof(float) + sizeof(block);
}

/* `(dims, width)` of `(count, dims)`, rows beyond the last like it. */
static void turn(const float *from, long stride, long count, long dims, float scale, float *to, long width) {
    for (long row = 0; row < width; row++) {
        const float *x = from + (row < count ? row : count - 1) * stride;
        for (long dim = 0; dim < dims; dim++) to[dim * width + row] = scale * x[dim];
    }
}

static void score(block *b, const float *keys, long width, long count, long dims) {
    for (long key = 0; key < count; key += GROUP) {
        lanes sums[GROUP][AT_ONCE] = {0};
        multiply(keys + key, width, b->asked, QUERIES, dims, sums, VECTORS);
        for (int i = 0; i < GROUP; i++)
            for (int j = 0; j < VECTORS; j++) *to(b->scores, (key + i) * QUERIES + j * LANES) = sums[i][j];
    }
}

/* Weights 2^(score - the highest so far). */
static void weigh(block *b, long count) {
    for (int j = 0; j < QUERIES; j += LANES) {
        lanes before = *at(b->highest, j), highest = before;
        for (long key = 0; key < count; key++)
            highest = __builtin_elementwise_max(highest, *at(b->scores, key * QUERIES + j));
        lanes factor = power_of_two(before - highest), sum = *at(b->sums, j) * factor;
        for (long key = 0; key < count; key++) {
            lanes weight = power_of_two(*at(b->scores, key * QUERIES + j) - highest);
            *to(b->scores, key * QUERIES + j) = weight;
            sum += weight;
        }
        *to(b->highest, j) = highest, *to(b->sums, j) = sum, *to(b->factors, j) = factor;
    }
}

/* Adds `count` values, `parts` vectors each, with these weights. */
INLINE void hear(block *b, const float *values, long count, int parts) {
    for (long query = 0; query < QUERIES; query += GROUP) {
        float *heard = b->heard + query * parts * LANES;
        lanes sums[GROUP][AT_ONCE];
        for (int i = 0; i < GROUP; i++)
            for (int j = 0; j < parts; j++)
                sums[i][j] = *at(heard, (i * parts + j) * LANES) * b->factors[query + i];
        multiply(b->scores + query, QUERIES, values, parts * LANES, count, sums, parts);
        for (int i = 0; i < GROUP; i++)
            for (int j = 0; j < parts; j++) *to(heard, (i * parts + j) * LANES) = sums[i][j];
    }
}

/* softmax(scale Q K^T) V: `(queries, dims)` by `(keys, dims)` twice to `(queries, dims)`, dims a multiple of
   16 and no more than 64, one key or more, rows some strides apart. */
void attend_float32(
    const float *q, long q_stride, const float *k, long k_stride, const float *v, long v_stride,
    float *result, long result_stride, long queries, long keys, long dims, float scale, float *room) {
    long width = filled_up(keys);
    float *values = room + dims * width;
    block *b = (block *)(values + dims * width);
    turn(k, k_stride, keys, dims, 1, room, width);
    /* Rows after each other, as with some strides all of them have the same few places in the cache. */
    for (long key = 0; key < keys; key++) __builtin_memcpy(values + key * dims, v + key * v_stride, dims * 4);
    for (long first = 0; first < queries; first += QUERIES) {
        turn(q + first * q_stride, q_stride, queries - first, dims, scale * 1.442695041f, b->asked, QUERIES);
        for (int i = 0; i < QUERIES; i++) b->highest[i] = -__builtin_inff(), b->sums[i] = 0;
        for (long i = 0; i < QUERIES * dims; i++) b->heard[i] = 0;
        for (long key = 0; key < keys; key += KEYS) {
            long count = keys - key < KEYS ? keys - key : KEYS;
            score(b, room + key, width, count, dims);
            weigh(b, count);
            if (dims == DIMS)
                hear(b, values + key * dims, count, DIMS / LANES);
            else
                hear(b, values + key * dims, count, (int)dims / LANES);
        }
        for (long i = 0; i < QUERIES && first + i < queries; i++)
            for (long dim = 0; dim < dims; dim++)
                result[(first + i) * result_stride + dim] = b->heard[i * dims + dim] / b->sums[i];
    }
}

#endif
