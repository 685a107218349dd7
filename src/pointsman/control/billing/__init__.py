"""Billing: statements, invoices and credit notes: how they are made of the ledger, and what they look like."""
