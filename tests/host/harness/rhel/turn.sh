# Makes CentOS Stream 9's shape of a Debian host that has every package: what
# packages.py made RPMs of goes, and so do Debian's own ways of managing packages.
set -eu

cp -rL /usr/share/wordpress /srv/wordpress
rm -f /srv/wordpress/wp-config.php
install -d -o www-data -g www-data /srv/jobs

export DEBIAN_FRONTEND=noninteractive
there=$(dpkg-query -W -f '${db:Status-Abbrev} ${binary:Package}\n' 'php*' 'wordpress*')
dpkg --purge --force-depends $(echo "$there" | sed -n 's/^ii *//p') \
    $(cat /srv/packages/replaced) >/dev/null
rm -rf /etc/php /usr/lib/php /var/lib/php /etc/supervisor /var/log/gearman* /var/lib/wordpress
rm -rf /var/lib/gearman /var/log/supervisor /usr/lib/python3*/EXTERNALLY-MANAGED
! id gearman >/dev/null 2>&1 || userdel gearman

# systemd would make www-data anew at each boot.
sed -i '/^[ug] www-data /d' /usr/lib/sysusers.d/basic.conf
usermod -l apache -d /usr/share/httpd -s /usr/sbin/nologin www-data
groupmod -n apache www-data
useradd -r -d /var/lib/nginx -s /usr/sbin/nologin nginx
sed -i 's/www-data/nginx/' /etc/nginx/nginx.conf /etc/logrotate.d/nginx
rm -rf /etc/nginx/sites-enabled/* /etc/nginx/sites-available

# The database and nginx are the base's own: no RPM, and off until there is a site.
rm -rf /etc/init.d/* /etc/rc[0-9S].d/*
systemctl --quiet disable mariadb mariadb.socket mariadb-extra.socket nginx
mkdir -p /etc/rc.d/init.d /etc/sysconfig

# An RPM database of the system's, where Debian's rpm has one of each user's.
mkdir -p /etc/rpm /var/lib/rpm
echo '%_dbpath /var/lib/rpm' >/etc/rpm/macros
rm -rf /root/.rpmdb
printf '[main]\ngpgcheck=1\ninstallonly_limit=3\nclean_requirements_on_remove=True\nbest=True\n' \
    >/etc/dnf/dnf.conf
ln -sf dnf-3 /usr/bin/yum
# CentOS has these in packages of their own.
for plugin in leaves local post-transaction-actions show_leaves versionlock; do
    rm -rf /usr/lib/python3/dist-packages/dnf-plugins/"$plugin".py /etc/dnf/plugins/"$plugin".*
done

mkdir -p /usr/lib/debian/bin
mv /var/lib/dpkg /usr/lib/debian/dpkg
for program in /usr/bin/apt* /usr/bin/dpkg* /usr/bin/deb-* /usr/bin/debconf* /usr/sbin/dpkg* \
    /usr/sbin/update-rc.d /usr/sbin/invoke-rc.d /usr/sbin/policy-rc.d; do
    [ ! -e "$program" ] || mv "$program" /usr/lib/debian/bin
done
rm -rf /etc/apt /etc/dpkg /etc/debconf.conf /etc/debian_version /var/lib/apt /var/cache/apt
rm -f /etc/cron.daily/apt-compat /etc/cron.daily/dpkg /etc/logrotate.d/apt /etc/logrotate.d/dpkg
for timer in apt-daily apt-daily-upgrade dpkg-db-backup; do
    find /etc/systemd/system /usr/lib/systemd/system -name "$timer.*" -delete
done

dnf -y --releasever=9 --nogpgcheck --repofrompath=baseos,file:///srv/packages/baseos \
    install centos-stream-release
