from foretell.errors import UserError, missing_package, nearest


def test_message_is_one_line():
    assert str(UserError("a\n  b\tc")) == "a b c"


def test_missing_package_names_the_extra():
    assert "pip install 'foretell[lidar]'" in str(missing_package("open3d", "lidar"))
    assert "pip install 'foretell'" in str(missing_package("torch", ""))


def test_nearest_ignores_case_and_stays_silent_when_nothing_is_close():
    assert nearest("ADAMV", ["adamw", "sgd"]) == "; did you mean 'adamw'?"
    assert nearest("zzz", ["adamw", "sgd"]) == ""
