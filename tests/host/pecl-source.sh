# The original archive of Debian's php-gearman, which is pecl's.
folder=$1 mirror=$2
cd "$folder"
mkdir -p lists/partial
echo "deb-src $mirror trixie main" >list
apt="apt-get -o Dir::Etc::sourcelist=$folder/list -o Dir::Etc::sourceparts=/dev/null
    -o Dir::State::lists=$folder/lists -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache="
$apt update
# Mirrors that lack its other files have this one.
$apt source --download-only php-gearman || ls php-gearman_*.orig.tar.gz
mv php-gearman_*.orig.tar.gz gearman.tgz
rm -rf lists list php-gearman_*
