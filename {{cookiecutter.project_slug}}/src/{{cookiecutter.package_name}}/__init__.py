"""{{ cookiecutter.__title }}."""
