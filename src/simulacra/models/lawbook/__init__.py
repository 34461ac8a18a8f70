"""The laws that models keep, by what they are about; those of a family stand in its folder."""
