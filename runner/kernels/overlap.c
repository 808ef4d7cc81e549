/* The end of a transposed convolution: see runner/layers/overlap.py. */

#include "lanes.h"

/* A row of one step of the output: the sum of what two steps of the input add to it, either of which may not
   be there, and of the bias. */
INLINE void overlap_row(
    const void *front, const void *back, float bias, void *result, long time, int bent, int from_short,
    int to_short) {
    for (long moment = 0; moment < time; moment += LANES) {
        lanes sum = (lanes){0} + bias;
        if (front) sum += load_some(front, moment, from_short, time - moment);
        if (back) sum += load_some(back, moment, from_short, time - moment);
        store_some(result, moment, to_short, bent ? gelu(sum) : sum, time - moment);
    }
}

INLINE void overlap_as(
    const char *front, const char *back, float bias, void *result, long time, int bent, long from_short,
    long to_short) {
    if (!from_short)
        overlap_row(front, back, bias, result, time, bent, 0, 0);
    else if (to_short)
        overlap_row(front, back, bias, result, time, bent, 1, 1);
    else
        overlap_row(front, back, bias, result, time, bent, 1, 0);
}

/* Steps of the output that belong to steps `first` to `last` of the input, of which there are `count`.

   `halves` are `(count, 2, outputs, stride, time)`, `before` is the second half of the step before them, or
   none. */
void overlap(
    const char *halves, long from_short, const char *before, const float *bias, char *to, long to_output,
    long to_step, long to_short, long first, long last, long count, long outputs, long stride, long time,
    long bent) {
    long from_size = from_short ? 2 : 4, to_size = to_short ? 2 : 4;
    long half = outputs * stride * time * from_size;
    for (long step = first; step < last; step++)
        for (long output = 0; output < outputs; output++)
            for (long tap = 0; tap < stride; tap++) {
                long place = (output * stride + tap) * time * from_size;
                const char *front = step < count ? halves + 2 * step * half + place : 0;
                const char *earlier = step ? halves + (2 * step - 1) * half : before;
                const char *back = earlier ? earlier + place : 0;
                char *result = to + (output * to_output + (step * stride + tap) * to_step) * to_size;
                if (bent)
                    overlap_as(front, back, bias[output], result, time, 1, from_short, to_short);
                else
                    overlap_as(front, back, bias[output], result, time, 0, from_short, to_short);
            }
}
