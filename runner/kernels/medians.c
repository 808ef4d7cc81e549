/* Running medians over 31 neighbours: see runner/medians.py for the method and its sources.

   Everything is done for as many columns at once as a register of the processor has room for. Three tiles of
   sorted blocks take 15 KB at most, so all of it happens in the nearest cache. */

#include "lanes.h"

#define TILE 16

/* Sixteen rows as aligned blocks of 1, 2, 4, 8 and 16, each sorted. */
typedef struct {
    lanes one[TILE], two[TILE], four[TILE], eight[TILE], all[TILE];
} blocks;

INLINE void in_order(lanes *low, lanes *high) {
    lanes smaller = __builtin_elementwise_min(*low, *high);
    *high = __builtin_elementwise_max(*low, *high);
    *low = smaller;
}

/* Merges two neighbours that are sorted, of `half` each, by K. Batcher's odd-even merging network. */
INLINE void merge(const lanes *from, lanes *to, int half) {
    for (int i = 0; i < half; i++) {
        to[i] = from[i];
        to[half + i] = from[half + i];
        in_order(&to[i], &to[half + i]);
    }
    for (int step = half / 2; step > 0; step /= 2)
        for (int start = step; start < 2 * half - step; start += 2 * step)
            for (int i = start; i < start + step; i++) in_order(&to[i], &to[i + step]);
}

static void sort_blocks(blocks *tile) {
    for (int i = 0; i < TILE; i += 2) merge(tile->one + i, tile->two + i, 1);
    for (int i = 0; i < TILE; i += 4) merge(tile->two + i, tile->four + i, 2);
    for (int i = 0; i < TILE; i += 8) merge(tile->four + i, tile->eight + i, 4);
    merge(tile->eight, tile->all, 8);
}

/* The values in the middle of 2 `half` sorted ones and `half` more, sorted: as many of the others are below
   them as above. Before they are sorted they rise and then fall, or the other way round. */
INLINE void still_middle(const lanes *middle, const lanes *more, lanes *kept, int half) {
    for (int i = 0; i < half; i++)
        kept[i] = __builtin_elementwise_max(
            middle[i], __builtin_elementwise_min(middle[half + i], more[half - 1 - i]));
    for (int step = half / 2; step > 0; step /= 2)
        for (int start = 0; start < half; start += 2 * step)
            for (int i = start; i < start + step; i++) in_order(&kept[i], &kept[i + step]);
}

/* Of `count` windows that have `middle` in common, half hold one more block of the tile before, the others
   one of the tile after. `first` is the number of the first window. */
#define HALVED(count, half, level, rest)                                                                     \
    INLINE void windows_##count(                                                                             \
        const lanes *middle, const blocks *before, const blocks *after, int first, lanes *medians) {         \
        lanes kept[half];                                                                                    \
        still_middle(middle, before->level + first + half, kept, half);                                      \
        rest(kept, before, after, first, medians);                                                           \
        still_middle(middle, after->level + first, kept, half);                                              \
        rest(kept, before, after, first + half, medians);                                                    \
    }

INLINE void windows_1(
    const lanes *middle, const blocks *before, const blocks *after, int first, lanes *medians) {
    (void)before, (void)after;
    medians[first] = *middle;
}

HALVED(2, 1, one, windows_1)
HALVED(4, 2, two, windows_2)
HALVED(8, 4, four, windows_4)
HALVED(16, 8, eight, windows_8)

/* Medians of the sixteen windows that begin one row after `before` does. */
static void tile_medians(const blocks *before, const blocks *tile, const blocks *after, lanes *medians) {
    windows_16(tile->all, before, after, 0, medians);
}

/* Down the columns of `(16 tiles, columns)`, whose rows are `stride` apart: `(16 (tiles - 2), columns)`. */
void medians_down(const float *values, long stride, float *medians, long tiles, long columns) {
    for (long column = 0; column < columns; column += LANES) {
        long width = columns - column < LANES ? columns - column : LANES;
        blocks ring[3] = {0};
        lanes found[TILE];
        for (long number = 0; number < tiles; number++) {
            blocks *tile = &ring[number % 3];
            const float *from = values + number * TILE * stride + column;
            for (int i = 0; i < TILE; i++, from += stride)
                if (width == LANES) tile->one[i] = *(const lanes *)from;
                else __builtin_memcpy(&tile->one[i], from, width * sizeof *from);
            sort_blocks(tile);
            if (number < 2) continue;
            tile_medians(&ring[(number - 2) % 3], &ring[(number - 1) % 3], tile, found);
            float *to = medians + (number - 2) * TILE * columns + column;
            for (int i = 0; i < TILE; i++, to += columns)
                if (width == LANES) *(lanes *)to = found[i];
                else __builtin_memcpy(to, &found[i], width * sizeof *to);
        }
    }
}

#if LANES == 16
#define FRONTS 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define BACKS 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif LANES == 8
#define FRONTS 0, 8, 1, 9, 2, 10, 3, 11
#define BACKS 4, 12, 5, 13, 6, 14, 7, 15
#else
#define FRONTS 0, 4, 1, 5
#define BACKS 2, 6, 3, 7
#endif

/* Makes rows of `LANES` registers columns: shuffles one half with the other until all has its place. */
INLINE void transpose(lanes *rows) {
    for (int round = 1; round < LANES; round *= 2) {
        lanes shuffled[LANES];
        for (int i = 0; i < LANES / 2; i++) {
            shuffled[2 * i] = __builtin_shufflevector(rows[i], rows[i + LANES / 2], FRONTS);
            shuffled[2 * i + 1] = __builtin_shufflevector(rows[i], rows[i + LANES / 2], BACKS);
        }
        __builtin_memcpy(rows, shuffled, sizeof shuffled);
    }
}

/* Along the rows of `(rows, 16 tiles)`, which are `stride` apart, to `(rows, 16 (tiles - 2))`. */
void medians_along(const float *values, long stride, float *medians, long rows, long tiles) {
    for (long row = 0; row < rows; row += LANES) {
        blocks ring[3];
        lanes found[TILE];
        for (long number = 0; number < tiles; number++) {
            blocks *tile = &ring[number % 3];
            for (int part = 0; part < TILE; part += LANES) {
                for (int i = 0; i < LANES; i++) {
                    long which = row + i < rows ? row + i : rows - 1; /* the last one again, to no end */
                    tile->one[part + i] = *(const lanes *)(values + which * stride + number * TILE + part);
                }
                transpose(tile->one + part);
            }
            sort_blocks(tile);
            if (number < 2) continue;
            tile_medians(&ring[(number - 2) % 3], &ring[(number - 1) % 3], tile, found);
            for (int part = 0; part < TILE; part += LANES) {
                transpose(found + part);
                for (int i = 0; i < LANES && row + i < rows; i++) {
                    float *to = medians + ((row + i) * (tiles - 2) + number - 2) * TILE + part;
                    *(lanes *)to = found[part + i];
                }
            }
        }
    }
}
