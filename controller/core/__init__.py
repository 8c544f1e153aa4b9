"""The core: evidence in, incidents out. Pure: time is an argument, waiting is an effect.

Production, ``faultline replay`` and the simulator run exactly this code.
"""
