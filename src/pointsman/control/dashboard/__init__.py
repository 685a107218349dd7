"""The dashboard: pages of the control process for people, made on the server, of what lies there; no worker is asked."""
