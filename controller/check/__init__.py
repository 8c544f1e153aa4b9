"""Checks of a cluster: the validation checklist and the design lint. Pure: facts and topology in, findings out."""
