"""A laboratory: Debian 13 guests in QEMU with a real NFS server, a real iSCSI target and real clients, and faults between them."""
