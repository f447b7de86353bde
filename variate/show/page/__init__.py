"""The report's page: what is found out about a run, a section for every question, one HTML file around them."""
