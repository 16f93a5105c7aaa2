{% include 'common/service/retry.py' %}
