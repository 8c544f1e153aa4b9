"""Naming the fault: which set of faults explains the bad cells best, and how sure that is. Pure."""
