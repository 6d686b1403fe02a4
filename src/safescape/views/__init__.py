"""Pictures and pages of a run. Needs only the store and the landscape; never loads a model."""
