"""What tests stand on: the proxy, its peers, processes, databases, tables of cases."""
