"""The real kernel: snapshots, ftrace text and /proc text, turned into the same states and events as the simulator's."""
