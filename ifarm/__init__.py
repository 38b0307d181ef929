"""iFarm: a multi-tenant livestock backend on Understudy."""
