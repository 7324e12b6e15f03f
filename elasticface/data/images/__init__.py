"""Photos as arrays: decoded safely, found in folders and tars, aligned to the template."""
