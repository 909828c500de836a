"""One file per policy: in which order requests wait, and who gives way when KV blocks run out."""
