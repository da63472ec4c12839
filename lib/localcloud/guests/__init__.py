"""What happens inside the machines of the local cloud: booting, etcd, logins, discovery."""
