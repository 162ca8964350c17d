//! Damage, one named test per kind.
