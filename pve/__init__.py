"""Proxmox VE's own files, read as Proxmox VE itself reads them: pure parsers, bytes in, values and typed errors out."""
