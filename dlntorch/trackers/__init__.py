"""Who looks on while a run trains: W&B, CSV, TensorBoard, or nobody."""
