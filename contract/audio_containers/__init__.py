"""One module for each container that `contract.audio_header` can read. Bytes in, `AudioHeader` out."""
