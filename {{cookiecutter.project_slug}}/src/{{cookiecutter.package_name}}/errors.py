{% include 'common/service/errors.py' %}
