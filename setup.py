"""What pyproject.toml cannot say: an editable installation, too, puts the data files in place."""

from setuptools import Distribution, setup


class WithData(Distribution):
    """Answers setuptools' editable_wheel, which asks for data files by a name that nothing has."""

    def has_data(self) -> bool:
        """Tell whether there are data files."""
        return self.has_data_files()


setup(distclass=WithData)
