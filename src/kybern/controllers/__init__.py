"""The controllers, one file of decisions for each loop; `table` lists them all."""
