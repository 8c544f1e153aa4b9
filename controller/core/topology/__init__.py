"""What depends on what: guest to storage to server, portal, LUN and network, and what a failure therefore takes down."""
