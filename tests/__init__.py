"""The tests of the template: of what it is rendered from, and of every project it renders."""
