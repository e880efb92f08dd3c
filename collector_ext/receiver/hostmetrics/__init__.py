"""`hostmetrics`: memory, processor, disks and network of this machine, read from /proc."""
