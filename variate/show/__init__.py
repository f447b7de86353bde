"""Results for people: files, pictures, the report."""
