/* Gated linear units: see runner/layers/gate.py. */

#include "lanes.h"

INLINE void gate_channel(const void *x, const void *gates, void *result, long time, int shortened) {
    for (long moment = 0; moment < time; moment += LANES) {
        lanes open = sigmoid(load_some(gates, moment, shortened, time - moment));
        lanes value = load_some(x, moment, shortened, time - moment) * open;
        store_some(result, moment, shortened, value, time - moment);
    }
}

/* Channels `(rows, channels, time)` of twice as many, the second half of which are their gates. */
void gate(
    const void *from, long from_row, long from_channel, void *to, long to_row, long to_channel, long rows,
    long channels, long time, long shortened) {
    long size = shortened ? 2 : 4;
    for (long row = 0; row < rows; row++)
        for (long channel = 0; channel < channels; channel++) {
            const char *x = (const char *)from + (row * from_row + channel * from_channel) * size;
            const char *gates = x + channels * from_channel * size;
            char *result = (char *)to + (row * to_row + channel * to_channel) * size;
            if (shortened)
                gate_channel(x, gates, result, time, 1);
            else
                gate_channel(x, gates, result, time, 0);
        }
}
