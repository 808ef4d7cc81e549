/* A residual branch of demucs with its second norm folded: see runner/layers/residual.py.

   In four phases, as what a norm needs is known only after all of a row has been heard. Several threads may
   share the rows: each has its part of the time, and waits for the others after each phase. */

#include "residual.h"

#define HALF (GROUP / 2) /* channels and as many gates */
#define SUMMED 1024      /* moments that are summed by themselves: longer sums lose digits */

/* Moments from `first` on of all channels, and as many before and after as the convolution reaches. */
INLINE void gather(const branch *b, const void *x, const rows *r, long first, int shortened, float *near) {
    long width = near_width(b), start = first - b->kernel / 2 * b->dilation;
    for (long channel = 0; channel < b->channels; channel++, near += width)
        for (long i = 0; i < width; i += LANES) {
            long when = start + i, place = channel * r->from_channel + when;
            lanes values = {0};
            if (when >= 0)
                values = load_some(x, place, shortened, r->time - when);
            else
                for (long lane = -when; lane < LANES && when + lane < r->time; lane++)
                    values[lane] = load_some(x, place + lane, shortened, 1)[0];
            *to(near, i) = values;
        }
}

/* Adds values with a mean of their own: T. Chan, G. Golub, R. LeVeque, "Algorithms for computing the sample
   variance", 1983, eq. 2.1. */
static void join(spread *all, spread more) {
    double away = more.mean - all->mean, count = all->count + more.count;
    if (count == 0) return;
    all->squares += more.squares + away * away * all->count * more.count / count;
    all->mean += away * more.count / count;
    all->count = count;
}

/* Keeps hidden channels from `h` on at some moments. */
INLINE void keep_hidden(const branch *b, state *s, long h, long first, lanes x[GROUP][AT_ONCE], int count) {
    int there = b->hidden - h < GROUP ? (int)(b->hidden - h) : GROUP;
    long moments = s->time - first < count * LANES ? s->time - first : count * LANES;
    lanes sum = {0}, squares = {0};
    for (int i = 0; i < GROUP; i++)
        for (int j = 0; j < count; j++) {
            x[i][j] = first_of(x[i][j], moments - j * LANES);
            *hidden_at(s, h + i, first + j * LANES) = x[i][j];
            sum += x[i][j];
        }
    float mean = total(sum) / (there * moments);
    for (int i = 0; i < there; i++)
        for (int j = 0; j < count; j++) {
            lanes away = first_of(x[i][j] - mean, moments - j * LANES);
            squares += away * away;
        }
    join(&s->spreads[s->part], (spread){(double)there * moments, mean, total(squares)});
}

INLINE void narrow_some(const branch *b, state *s, long first, const float *near, int count) {
    for (long h = 0; h < b->narrow; h += GROUP) {
        lanes sums[GROUP][AT_ONCE];
        for (int i = 0; i < GROUP; i++)
            for (int j = 0; j < count; j++) sums[i][j] = (lanes){0} + b->narrow_bias[h + i];
        for (long tap = 0; tap < b->kernel; tap++) {
            const float *weights = b->taps + tap * b->channels * b->narrow + h;
            multiply(weights, b->narrow, near + tap * b->dilation, near_width(b), b->channels, sums, count);
        }
        keep_hidden(b, s, h, first, sums, count);
    }
}

/* Phase 0: the dilated convolution, and what its norm needs. */
INLINE void narrow(const branch *b, const rows *r, const void *x, state *s, int shortened, float *near) {
    s->spreads[s->part] = (spread){0};
    for (long first = s->first; first < s->last; first += AT_ONCE * LANES) {
        gather(b, x, r, first, shortened, near);
        if (s->last - first >= AT_ONCE * LANES)
            narrow_some(b, s, first, near, AT_ONCE);
        else
            for (long i = 0; first + i < s->last; i += LANES) narrow_some(b, s, first + i, near + i, 1);
    }
}

/* Phase 1: that norm and a GELU, and each channel's sum. */
static void activate(const branch *b, state *s) {
    spread all = {0};
    for (long part = 0; part < s->parts; part++) join(&all, s->spreads[part]);
    float factor = 1 / __builtin_sqrtf((float)(all.squares / all.count) + b->narrow_epsilon);
    for (long h = 0; h < b->hidden; h++) {
        float gain = factor * b->narrow_gain[h], shift = b->narrow_shift[h] - (float)all.mean * gain;
        double sum = 0;
        for (long start = s->first; start < s->last; start += SUMMED) {
            lanes some = {0};
            for (long when = start; when < s->last && when < start + SUMMED; when += LANES) {
                lanes *x = hidden_at(s, h, when);
                *x = first_of(gelu(*x * gain + shift), s->time - when);
                some += *x;
            }
            sum += total(some);
        }
        s->sums[s->part * b->narrow + h] = (float)sum;
    }
}

static float mean_of(const branch *b, const state *s, long channel) {
    float sum = 0;
    for (long part = 0; part < s->parts; part++) sum += s->sums[part * b->narrow + channel];
    return sum / s->time;
}

/* Adds the products of all channels with each other at some moments. */
static void correlate_some(const branch *b, const state *s, long first, long last, double *products) {
    for (long a = 0; a < b->narrow; a += GROUP, products += GROUP * b->narrow)
        for (long c = 0; c < b->narrow; c += HALF) {
            lanes sums[GROUP][HALF] = {0};
            for (long when = first; when < last; when += LANES)
                for (int j = 0; j < HALF; j++) {
                    lanes factor = *hidden_at(s, c + j, when);
                    for (int i = 0; i < GROUP; i++) sums[i][j] += *hidden_at(s, a + i, when) * factor;
                }
            for (int i = 0; i < GROUP; i++)
                for (int j = 0; j < HALF; j++) products[i * b->narrow + c + j] += total(sums[i][j]);
        }
}

/* Phase 2: takes each channel's mean away, and multiplies all channels with each other. */
static void correlate(const branch *b, state *s) {
    for (long h = 0; h < b->hidden; h++) {
        float mean = mean_of(b, s, h);
        for (long when = s->first; when < s->last; when += LANES)
            *hidden_at(s, h, when) = first_of(*hidden_at(s, h, when) - mean, s->time - when);
    }
    double *products = s->products + s->part * b->narrow * b->narrow;
    for (long i = 0; i < b->narrow * b->narrow; i++) products[i] = 0;
    for (long first = s->first; first < s->last; first += SUMMED)
        correlate_some(b, s, first, first + SUMMED < s->last ? first + SUMMED : s->last, products);
}

/* Weights `(hidden, wide)`, and after them biases `(wide)`, of convolution, norm and scale together. */
static void fold(const branch *b, const state *s, float *weights, float *covariance) {
    long size = b->narrow * b->narrow, wide = b->wide;
    for (long i = 0; i < size; i++) {
        double sum = 0;
        for (long part = 0; part < s->parts; part++) sum += s->products[part * size + i];
        covariance[i] = (float)(sum / s->time);
    }
    float *biases = weights + b->hidden * wide;
    lanes sum = {0};
    for (long o = 0; o < wide; o += LANES) {
        lanes mean = *at(b->wide_bias, o);
        for (long h = 0; h < b->hidden; h++) mean += *at(b->weight, h * wide + o) * mean_of(b, s, h);
        *to(biases, o) = mean;
        sum += mean * *at(b->share, o);
    }
    float overall = total(sum);
    sum = (lanes){0};
    for (long o = 0; o < wide; o += LANES) {
        lanes away = *at(biases, o) - overall, variance = away * away;
        for (long h = 0; h < b->narrow; h += GROUP) {
            lanes products[GROUP][AT_ONCE] = {0};
            multiply(covariance + h, b->narrow, b->weight + o, wide, b->hidden, products, 1);
            for (int i = 0; i < GROUP && h + i < b->hidden; i++)
                variance += products[i][0] * *at(b->weight, (h + i) * wide + o);
        }
        sum += variance * *at(b->share, o);
    }
    float factor = 1 / __builtin_sqrtf(total(sum) + b->wide_epsilon);
    for (long o = 0; o < wide; o += LANES) {
        lanes gain = *at(b->wide_gain, o) * factor, scale = *at(b->scale, o);
        *to(biases, o) = ((*at(biases, o) - overall) * gain + *at(b->wide_shift, o)) * scale;
        for (long h = 0; h < b->hidden; h++)
            *to(weights, h * wide + o) = *at(b->weight, h * wide + o) * gain * scale;
    }
}

INLINE void widen_some(
    const branch *b, const rows *r, const void *x, void *result, const state *s, const float *weights,
    long moment, int shortened, int count) {
    const float *biases = weights + b->hidden * b->wide;
    for (long c = 0; c < b->channels; c += HALF) {
        lanes sums[GROUP][AT_ONCE];
        for (int i = 0; i < GROUP; i++)
            for (int j = 0; j < count; j++) sums[i][j] = (lanes){0} + biases[2 * c + i];
        multiply(weights + 2 * c, b->wide, s->hidden + moment, s->stride, b->hidden, sums, count);
        for (int i = 0; i < HALF && c + i < b->channels; i++)
            for (int j = 0; j < count; j++) {
                long when = moment + j * LANES, left = s->time - when;
                lanes before = load_some(x, (c + i) * r->from_channel + when, shortened, left);
                lanes after = before + sums[i][j] * sigmoid(sums[HALF + i][j]);
                store_some(result, (c + i) * r->to_channel + when, shortened, after, left);
            }
    }
}

/* Phase 3: the other convolution with its norm and scale, the gate, and the sum with what was given. */
INLINE void widen(
    const branch *b, const rows *r, const void *x, void *result, const state *s, int shortened, float *own) {
    fold(b, s, own, own + (b->hidden + 1) * b->wide);
    long moment = s->first;
    for (; s->last - moment >= AT_ONCE * LANES; moment += AT_ONCE * LANES)
        widen_some(b, r, x, result, s, own, moment, shortened, AT_ONCE);
    for (; moment < s->last; moment += LANES) widen_some(b, r, x, result, s, own, moment, shortened, 1);
}

INLINE void take_phase(
    const branch *b, const rows *r, long row, state *s, long phase, int shortened, float *own) {
    long size = shortened ? 2 : 4;
    const void *x = (const char *)r->from + row * r->from_row * size;
    if (phase == 0) narrow(b, r, x, s, shortened, own);
    if (phase == 1) activate(b, s);
    if (phase == 2) correlate(b, s);
    if (phase == 3) widen(b, r, x, (char *)r->to + row * r->to_row * size, s, shortened, own);
}

/* How many values of float32 `residual` needs besides, for all rows and threads together. */
long residual_room(const branch *b, long count, long time, long parts) {
    return count * state_size(b, time, parts) + parts * own_size(b);
}

/* Phases `first` to `last` of one part of all rows' time. */
void residual(
    const branch *b, const rows *r, float *room, long first, long last, long part, long parts) {
    long size = state_size(b, r->time, parts);
    float *own = room + r->count * size + part * own_size(b);
    for (long row = 0; row < r->count; row++) {
        state s = state_of(b, room + row * size, r->time, part, parts);
        for (long phase = first; phase < last; phase++)
            if (r->shortened)
                take_phase(b, r, row, &s, phase, 1, own);
            else
                take_phase(b, r, row, &s, phase, 0, own);
    }
}
