"""Recipe of the bundled separation model: material synthesis, training, evaluation and export."""
