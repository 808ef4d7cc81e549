/* A soft mask, applied: see runner/hpss.py. */

#include <float.h>

/* What of `spectra`, `(rows, bins)` complex numbers, belongs to the first of two parts with these magnitudes:
   harmonic^2 / (harmonic^2 + percussive^2) = 1 / (1 + (percussive / harmonic)^2), or a half where both are
   nothing. The limit where only `harmonic` is zero is right: 0. Rows of magnitudes may be longer. */
void soft_mask(
    const float *harmonic, long harmonic_stride, const float *percussive, long percussive_stride,
    const float *spectra, float *masked, long rows, long bins) {
    for (long row = 0; row < rows; row++) {
        for (long bin = 0; bin < bins; bin++) {
            float steady = harmonic[bin], struck = percussive[bin], ratio = struck / steady;
            int none = (steady > struck ? steady : struck) < FLT_MIN;
            float mask = none ? 0.5f : 1 / (1 + ratio * ratio);
            masked[2 * bin] = mask * spectra[2 * bin];
            masked[2 * bin + 1] = mask * spectra[2 * bin + 1];
        }
        harmonic += harmonic_stride, percussive += percussive_stride;
        spectra += 2 * bins, masked += 2 * bins;
    }
}
