"""Raw files to a versioned store of frames, to splits, to exports."""
