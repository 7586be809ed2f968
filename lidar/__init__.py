"""LiDAR head: pretrain a 3D backbone by forecasting sweeps with a temporal neural field."""
