"""The report's page: facts are gathered into evidence first, and the page is drawn from evidence alone."""
