#!/bin/sh
# Makes the passwords of docker-compose.yml, random, in ./secrets or in the folder that is named:
#
#   infra/docker/make-secrets.sh [FOLDER]
#
# Nobody but you can enter the folder. The files in it can be read by all, because a container has
# them under the mode that they have here, and its user is not you. What is there already stays.
set -eu

folder=${1:-$(dirname "$0")/../../secrets}
umask 022
mkdir -p "$folder"
chmod 0700 "$folder"

random() { # hexadecimal digits, so that they can stand in URLs
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

write() { # a file of what comes in, unless it is there
    if [ ! -e "$folder/$1" ]; then
        cat >"$folder/.new"
        mv "$folder/.new" "$folder/$1"
    fi
}

known() {
    cat "$folder/$1"
}

random | write postgres_password.txt
random | write redis_password.txt
random | write grafana_password.txt
random | write tenstep_s3_access_key_id.txt
random | write tenstep_s3_secret_access_key.txt

write tenstep_database_url.txt <<END
postgresql+psycopg://tenstep:$(known postgres_password.txt)@postgres:5432/tenstep
END
write tenstep_redis_url.txt <<END
redis://tenstep:$(known redis_password.txt)@redis:6379/0
END
# `health` can do nothing but ping.
write redis_users.txt <<END
user default off
user tenstep on >$(known redis_password.txt) ~* &* +@all
user health on nopass -@all +ping
END
write s3_identities.txt <<END
{"identities": [{"name": "tenstep", "credentials": [{
  "accessKey": "$(known tenstep_s3_access_key_id.txt)",
  "secretKey": "$(known tenstep_s3_secret_access_key.txt)"
}], "actions": ["Admin", "Read", "List", "Write"]}]}
END
# Filled by `tenstep keys create`: see infra/docker/README.md.
: | write metrics_key.txt

echo "secrets are in $folder"
