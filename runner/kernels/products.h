/* Products of matrices whose results stay in registers. */

#ifndef PRODUCTS_H
#define PRODUCTS_H

#include "lanes.h"

#define GROUP 6 /* rows of a result that are computed together */
#if LANES == 16
#define AT_ONCE 4 /* vectors of each: all registers of the processor, but for what is multiplied */
#else
#define AT_ONCE 2
#endif

/* Adds `depth` products of GROUP columns of `left` with `count` vectors of a row of `right` each. */
INLINE void multiply(
    const float *left, long left_row, const float *right, long right_row, long depth,
    lanes sums[GROUP][AT_ONCE], int count) {
    lanes kept[GROUP][AT_ONCE]; /* in registers, which the caller's may not be */
    for (int i = 0; i < GROUP; i++)
        for (int j = 0; j < count; j++) kept[i][j] = sums[i][j];
    for (long k = 0; k < depth; k++, left += left_row, right += right_row)
        for (int j = 0; j < count; j++) {
            lanes factor = *(const lanes *)(right + j * LANES);
            for (int i = 0; i < GROUP; i++) kept[i][j] += left[i] * factor;
        }
    for (int i = 0; i < GROUP; i++)
        for (int j = 0; j < count; j++) sums[i][j] = kept[i][j];
}

#endif
