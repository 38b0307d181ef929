"""Tables that people have: imports and exports of CSV and Excel."""
