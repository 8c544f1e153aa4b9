"""The command line: what people type. It stands above agent and controller because ``replay`` runs parts of both."""
