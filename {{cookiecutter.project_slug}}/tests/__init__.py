{% include 'common/tests/__init__.py' %}
