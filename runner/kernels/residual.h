/* What a residual branch is made of, and what its kernel keeps in mind: see residual.c. */

#ifndef RESIDUAL_H
#define RESIDUAL_H

#include "products.h"

typedef struct {
    long channels, hidden, kernel, dilation;
    long narrow, wide; /* hidden and 2 channels with their padding, which is zeros */
    float narrow_epsilon, wide_epsilon;
    const float *taps;                                               /* (kernel, channels, narrow) */
    const float *narrow_bias, *narrow_gain, *narrow_shift;           /* (narrow) */
    const float *weight;                                             /* (hidden, wide) */
    const float *wide_bias, *wide_gain, *wide_shift, *scale, *share; /* (wide), see the wrapper */
} branch;

/* What it is given and gives, `(count, channels, time)`, and how many values later the next of each is. */
typedef struct {
    const void *from;
    void *to;
    long from_row, from_channel, to_row, to_channel, count, time, shortened;
} rows;

/* Values so far, their mean, and the sum of their squared distances from it. */
typedef struct {
    double count, mean, squares;
} spread;

/* What a row keeps from phase to phase: what each part found, and hidden channels of all moments. */
typedef struct {
    spread *spreads;      /* (parts) */
    double *products;     /* (parts, narrow, narrow) */
    float *sums, *hidden; /* (parts, narrow), (narrow, stride) */
    long time, stride, part, parts, first, last;
} state;

INLINE long rounded(long count, long to) { return (count + to - 1) / to * to; }

static long near_width(const branch *b) {
    return rounded(AT_ONCE * LANES + (b->kernel - 1) * b->dilation, LANES);
}

static long state_size(const branch *b, long time, long parts) {
    long of_part = 6 + b->narrow + 2 * b->narrow * b->narrow;
    return rounded(parts * of_part + b->narrow * rounded(time, LANES), 16);
}

/* What a thread needs for one phase: `gather`'s or `fold`'s. */
static long own_size(const branch *b) {
    long near = b->channels * near_width(b), folded = (b->hidden + 1) * b->wide + b->narrow * b->narrow;
    return rounded(near > folded ? near : folded, 16);
}

static state state_of(const branch *b, float *room, long time, long part, long parts) {
    state s = {.spreads = (spread *)room, .time = time, .stride = rounded(time, LANES)};
    s.products = (double *)(room + 6 * parts);
    s.sums = (float *)(s.products + parts * b->narrow * b->narrow);
    s.hidden = s.sums + parts * b->narrow;
    s.part = part, s.parts = parts;
    s.first = part * (s.stride / LANES) / parts * LANES;
    s.last = (part + 1) * (s.stride / LANES) / parts * LANES;
    return s;
}

INLINE lanes *hidden_at(const state *s, long channel, long moment) {
    return to(s->hidden, channel * s->stride + moment);
}

#endif
