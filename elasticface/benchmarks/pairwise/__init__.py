"""Verification of listed pairs: LFW, AgeDB-30, CALFW, CPLFW, CFP, and packs of them."""
