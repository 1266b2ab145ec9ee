"""Huawei Cloud: signed requests, one thin client a service, and the error table."""
