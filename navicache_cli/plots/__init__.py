"""Pictures of reports, one module a figure. Imported only when a picture is asked for."""
