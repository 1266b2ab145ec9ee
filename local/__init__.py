"""The world on one machine: stand-ins for AWS and Huawei Cloud, and the demo."""
